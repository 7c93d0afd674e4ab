"""MMSSL: multi-modal self-supervised learning for recommendation (Wei, Huang, Xia and Zhang, WWW 2023)."""

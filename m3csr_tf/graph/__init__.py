"""What walks over clicks, factorises them, or maps content to what they say."""

"""The verb `serve` as a script; `--help` says what it does."""

from m3csr_tf.main import main

if __name__ == "__main__":
    main("serve")

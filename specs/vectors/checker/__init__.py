"""The specifications once more, in Python, to check the test vectors with."""

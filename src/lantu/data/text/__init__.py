"""Text data: vocabularies, tokenization, and a data module for each problem."""

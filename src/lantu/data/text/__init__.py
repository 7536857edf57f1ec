"""Texts: vocabularies, tokenizing, and a data module per problem."""

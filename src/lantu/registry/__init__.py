"""Registered models: which version is the champion, by what evidence it became so, and the way back."""

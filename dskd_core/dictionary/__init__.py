"""The join of the two branches: senses for words, and for every token what to near and to avoid."""

"""Models compared on the same items: paired differences and their intervals."""

"""A dictionary in the browser: search, words, pairs, maps, comparison, what training did.

``app.py`` answers a browser on this machine, ``export.py`` writes the same pages as files.
"""

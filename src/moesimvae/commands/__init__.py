"""The commands of `moesimvae`, one module each, which `add` gives to the parser.

What their modules import at the top loads in no time; the rest is imported when they run.
"""

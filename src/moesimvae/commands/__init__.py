"""The commands of `moesimvae`, one module each, whose `add` registers it with the parser.

Imports at the top of these modules are fast; the rest is imported when a command runs.
"""

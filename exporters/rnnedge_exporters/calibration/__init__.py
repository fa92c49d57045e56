"""The user's own sequences: how they are read, and what they show of each weight.

sequences  from arrays, a file, a folder or a function to the inputs of a model
moments    the second moments of what each weight is multiplied with
"""

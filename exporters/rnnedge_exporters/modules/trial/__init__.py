"""The file that was made of a module, compared with it before anything is written.

    tensors     inputs of any size, made of the example's
    differences module and file on the same inputs, and how far they are apart
    sizes       which sizes are tried: near, far, 1, and those that torch's guards do not cover
    chunks      whether chunks, ragged rows and rows in another order give what the whole gives

What a program does at other sizes cannot be read off it: it is run.
"""

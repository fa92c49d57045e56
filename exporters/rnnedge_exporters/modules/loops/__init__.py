"""A Python loop over time in a user's forward becomes a `Scan`, or recurrent layers.

    marks       each loop in the user's source says which turn it is in
    axes        which axes of the inputs a loop walks, and which are the batch
    traces      the module traced at a few short lengths, each node with the turn it belongs to
    operations  a trace as operations; picks, writes and fills in one form
    turns       one body out of many turns: what is carried, scanned, collected and written
    writes      tensors that a loop grows or fills
    programs    one program out of the traces: sizes become expressions of the axes
    fits        those expressions
    sizes       those expressions as nodes of a graph
    emitting    that program as a module with a `RolledLoop` for each loop
    layer_calls the recurrent layers of the module around them
    parts       a loop while it is written
    cells       a loop over recurrent cells becomes recurrent layers
    bodies      the body of a loop, and what the loop is called with
    hoisting    what does not depend on the state is computed of all steps at once
    rolled      the loop: it runs in PyTorch, and is one opaque node while torch exports
    checking    the rolled module compared with the user's, in float64
    rolling     the steps above, in order
    scan        the opaque node becomes a `Scan`
    sites       what a loop carries, in the user's own names, and what to write instead

The turns are told apart in the source, not by likeness of what they compute: two loops in a row
that compute the same stay two, and a first turn that differs stays the first.
"""

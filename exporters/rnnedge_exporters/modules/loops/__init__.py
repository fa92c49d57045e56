"""A Python loop over time in a user's forward becomes a `Scan`.

    marks       each loop in the user's source says which turn it is in
    sites       what a loop carries, in the user's own names, and what to write instead
    axes        which axes of the inputs a loop walks, and which are the batch
    tracing     the module traced at a few short lengths, each node with the turn it belongs to
    normal      picks and writes of one step in one form
    turns       one body out of many turns: what is carried, scanned and collected
    merging     one program out of the traces: sizes become expressions of the axes
    emitting    that program as a module with a `RolledLoop` for each loop
    rolled      the loop: it runs in PyTorch, and is one opaque node while torch exports
    checking    the rolled module beside the user's own, in float64
    rolling     the steps above, in order
    scan        the opaque node becomes a `Scan`

The turns are told apart in the source, not by likeness of what they compute: two loops in a row
that compute the same stay two, and a first turn that differs stays the first.
"""

"""Whole modules: any `nn.Module` that has recurrent layers inside.

    copying         a private copy of the user's module, so that theirs is never touched
    forwards        the forward of a recurrent layer, exchanged in such a copy
    arguments       the arguments and results of a forward, as flat named tensors
    call_structure  how a forward is called, plain values and all, as the contract keeps it
    source_check    what a module must be so that a file can answer what it does
    capture         each recurrent layer becomes one opaque node while `torch.export` runs
    traced_forward  what torch would fix or refuse while it runs, and need not
    example         the example inputs, and what the layers see when the module runs on them
    symbols         torch's symbols for the axes of the inputs
    axis_names      what the dynamic axes are called
    frozen_sizes    sizes of the example that torch would keep are refused
    tracing         `torch.export` with axes that stay dynamic, or an error with the user's line
    axis_probe      what the axes of the inputs are for, found by running the module
    lifting         which states become inputs, decided by `streaming`, `rows` and a trial
    trial           the file, compared with the module before it is written
    streaming       which states can be lifted, and what stands in the way
    causal          convolutions that are streamed with a kept context
    simplify        constants folded and no-ops removed, by exact rules
    translation     torch's translation of the rest, and the line of an operator that has none
    graph_states    where the states and lengths of a layer come from in the graph
    assembly        the opaque nodes become the lowerings that a bare layer gets
    exporting       the steps above, in order

`source_lines`, `attributes`, `own_cell`, `python_loops`, `quiet`, `repeatable` and `squeezes` each
serve one of these.
"""

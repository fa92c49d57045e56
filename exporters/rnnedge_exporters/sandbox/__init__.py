"""Models run in a child process: one that ends its process, or never ends, ends the child only.

ONNX Runtime's kernels can abort, and a graph can run for ever. Both happen in a child here, which
imports numpy and ONNX Runtime but not PyTorch, and come back as errors.

    child_process         starts the child, talks to it within a time limit, says how it died
    serve                 the child's side: answers requests until there are no more
    onnx_runtime          `Sandbox`: a model as ONNX Runtime itself opens it, by path or by bytes
    onnx_runtime_server   the child of a `Sandbox`
    shared                the `Sandbox` of all exports of this process
    session               `Worker`, `IsolatedSession`: what `rnnedge_runtime.Session` is
    session_server        the child of a `Worker`
    other_runtimes        `OtherRuntime`: a model in OpenVINO, tract, onnx.reference or Node
    other_runtimes_server the child of an `OtherRuntime`
"""

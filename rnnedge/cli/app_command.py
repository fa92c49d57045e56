"""`rnnedge app model.onnx -o site/`."""

from __future__ import annotations

import shlex

import click

from rnnedge.cli.options import json_option
from rnnedge.cli.output import print_json, print_lines


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, help="The folder of the page.")
@click.option(
    "--golden",
    "vectors",
    help="A folder of golden vectors, which `rnnedge validate --golden` writes [what this machine "
    "answers].",
)
@click.option(
    "--onnxruntime-web",
    help="The folder of the npm package, for a model that rnnedge's own engine does not know "
    "[node_modules/onnxruntime-web].",
)
@json_option
def app(
    model: str, output: str, vectors: str | None, onnxruntime_web: str | None, *, as_json: bool
) -> None:
    """Write a page that proves MODEL in a browser, and runs it live.

    The folder opens from any web server, without a network: the page, MODEL, the vectors and the
    engine are all in it.
    """
    from rnnedge.app import write_site

    site = write_site(model, output, vectors=vectors, onnxruntime_web=onnxruntime_web)
    if as_json:
        print_json(site.to_dict())
        return
    name = "rnnedge's own, as WebAssembly" if site.engine == "wasm" else "onnxruntime-web"
    print_lines(
        f"engine: {name}: {site.why}",
        f"vectors: {site.sets} calls, expected answers from {site.reference}",
        f"wrote {site.folder} ({site.bytes:,} bytes)",
        f"next: python -m http.server --directory {shlex.quote(output)}, then open "
        "http://localhost:8000",
    )

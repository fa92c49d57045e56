"""`rnnedge app model.onnx -o site/`."""

from __future__ import annotations

import shlex

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OPENED, OUTPUT, PROOF, json_option
from rnnedge.cli.output import print_json, print_lines


@click.command(
    cls=Command,
    short_help="Write a page that proves MODEL in a browser.",
    examples=("rnnedge app model.onnx -o site",),
    extra="one MODEL is written; the folder is -o {extra}",
)
@click.argument("model", type=FILE)
@option("-o", "--output", group=OUTPUT, type=FILE, required=True, help="The folder of the page.")
@option(
    "--golden",
    "vectors",
    group=PROOF,
    type=FILE,
    shown="what this machine answers",
    help="A folder of golden vectors, which `rnnedge validate --golden` writes.",
)
@option(
    "--onnxruntime-web",
    group=OPENED,
    type=FILE,
    shown="node_modules/onnxruntime-web",
    help="The folder of the npm package, for a model that rnnedge's own engine does not know.",
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

"""`rnnedge app`: a static page that proves a model in a browser, and runs it live."""

from rnnedge.app.site import Site as Site
from rnnedge.app.site import write_site as write_site

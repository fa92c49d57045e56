"""Reports: what a validation found, as a page, as JSON, or as a continuous integration reads it."""

from rnnedge.reports.write import check_report_path as check_report_path
from rnnedge.reports.write import write_report as write_report

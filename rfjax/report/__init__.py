"""Reports: intervals, tables, figures, and one page that needs nothing but itself."""

from rfjax.report._figure import Figure as Figure
from rfjax.report._figure import Theme as Theme
from rfjax.report._frontier import frontier as frontier
from rfjax.report._manifest import manifest as manifest
from rfjax.report._page import Section as Section
from rfjax.report._page import page as page
from rfjax.report._series import Reference as Reference
from rfjax.report._series import Series as Series
from rfjax.report._statistics import Interval as Interval
from rfjax.report._statistics import mean_interval as mean_interval
from rfjax.report._statistics import paired_difference as paired_difference
from rfjax.report._table import Table as Table
from rfjax.report._write import write_report as write_report

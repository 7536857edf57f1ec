"""From runs to a decision: tables, statistics, cost, a forecast and a report."""

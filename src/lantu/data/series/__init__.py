"""Time series: rows by time, cut by time, shown to a network as windows that end before what is forecast."""

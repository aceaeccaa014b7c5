"""What NightMOPS and DayMOPS share: the Moving Object Database as it stands in the log."""

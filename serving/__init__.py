"""What readers see: the Evidence site, the Power BI project, and one address for all of it."""

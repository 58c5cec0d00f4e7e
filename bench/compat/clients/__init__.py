"""One module for each package or app: `CLIENTS`, functions named `case_...`, or both."""

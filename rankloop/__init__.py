"""The command line: `rankloop up` runs the whole loop on one machine; operators look in and steer."""

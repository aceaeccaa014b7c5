"""Moving objects: known ones are predicted and recognised, unknown ones discovered, fitted and kept."""

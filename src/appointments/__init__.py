"""An appointment service in which double booking is structurally impossible."""

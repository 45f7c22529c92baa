"""What report.html is made of: elements of a page, charts, and one module for each subject."""

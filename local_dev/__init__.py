"""What developers try Trapline with: samples, a new project's files, generated pages. Never imported by trapline."""

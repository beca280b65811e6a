"""What developers try Trapline with: samples, examples, generated pages. Trapline never imports it."""

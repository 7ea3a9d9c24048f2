"""HTTP. The only home of fastapi in the product."""

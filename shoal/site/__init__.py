"""What a deploy places on which node: weights, clips, images; the site document."""

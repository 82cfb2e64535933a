"""The programs that drive a cloud: Pulumi and gcloud."""

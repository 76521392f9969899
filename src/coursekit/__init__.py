"""What runs the course: reads `course.yml`, builds the site, runs and checks chapters. Command line: `course`.

The models live in `tinyvlm`, which never imports this package.
"""

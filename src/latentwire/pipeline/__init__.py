"""What each stage does, in one module named as the stage; `latentwire.stages` starts them as processes."""

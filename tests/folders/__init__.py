"""`make repro` in two folders, one of them interrupted five times: are the reports and `dvc.lock` the same bytes?"""

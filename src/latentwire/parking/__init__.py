"""A parked checkpoint can be resumed on a machine that shares no disk with this one.

How the pointer travels. What is parked are ordinary objects of DVC in the configured remote, named by a small `.dvc`
file, the pointer. Three places hold the same bytes of it. The remote, under `latentwire/parked/<item>-<identity>/`:
this is how it travels, because no job pulls or pushes git, because every machine that can fetch the objects can list
this folder, and because the name follows from the identity that both machines compute for themselves. The file
`checkpoints/<item>.dvc` of the repository: plain `dvc pull`, `dvc push` and `dvc gc` know what is parked from it. And
the git ref `refs/latentwire/park/<item>-<identity>`: to let git carry it, neither a branch nor a commit is needed
(`git push origin 'refs/latentwire/park/*'`), and nothing here ever pushes it.

What was tried against DVC 3.67: `dvc commit` of an unfinished stage claims in dvc.lock that it is finished; the path of
a pointer must not lie under what .dvcignore names (every DVC command in the repository fails), nor may .gitignore match
`checkpoints/*/` (DVC then does not see the pointer, and `dvc gc` deletes what it points to); so the path is
`parked/<item>`, ignored by git as a whole. The objects also go into DVC's local cache, as without them `dvc checkout`
fails.

What is deleted. The newest pointers of each item are kept in the remote, older ones are dropped; objects never are:
another item, commit or machine may use the same ones, and only their owner knows. `dvc gc --workspace --cloud` deletes
what no pointer in the repository that it runs in names; so `latentwire fetch --all --pointers` comes before it.
"""

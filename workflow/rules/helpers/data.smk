# Files of data sets, and where they are.


def raw_files(wildcards):
    """Downloaded files of a data set, or the user's own; none for embedded and simulated ones."""
    block = DATASETS[wildcards.dataset]
    own = f"{DOWNLOADS}/{catalogue.folder(wildcards.dataset, block)}"
    place = block.get("local", own)
    return [f"{place}/{file['name']}" for file in block.get("files", {}).values()]


FILES = {
    (catalogue.folder(name, block), file["name"]): file
    for name, block in DATASETS.items()
    for file in block.get("files", {}).values()
}


def file_block(wildcards):
    """The registry entry of one file to download."""
    return FILES[wildcards.folder, wildcards.file]

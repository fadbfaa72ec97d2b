using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps;

/// <summary>The persistent bitmaps of an image, in the order of its directory.</summary>
/// <remarks>
/// The list was read when the image was opened or last edited; bits are read on demand, uniform pages never. Thread-safe, but bits must not
/// be read while an edit of the same image runs: readers do not wait for it. After an edit each <see cref="BitmapInfo"/> that was taken
/// before is refused (<see cref="ArgumentException"/>). While a recording session has the bitmaps, an edit raises
/// <see cref="InvalidOperationException"/>. Bits that are missing from the file count as dirty, and a fault reports them.
/// </remarks>
public sealed class BitmapCollection : IReadOnlyList<BitmapInfo>
{
    private readonly ImageHandle _image;

    internal BitmapCollection(ImageHandle image) => _image = image;

    /// <summary>
    /// Whether the list is complete. A lenient reader may find a directory that cannot be read to its end; then bitmaps that are not listed
    /// may exist.
    /// </summary>
    internal bool IsComplete => Directory.IsComplete;

    /// <summary>
    /// Whether the tables certainly overlap: together they claim more bytes than the file has. Reading each of them could take unlimited
    /// time for a small file.
    /// </summary>
    internal bool HaveOverlappingTables => Directory.TableBytes > _image.Storage.Length;

    /// <summary>The number of bitmaps.</summary>
    public int Count => Directory.Bitmaps.Count;

    private BitmapDirectory Directory => _image.Contents.Bitmaps;

    /// <summary>The bitmap at a place in the directory.</summary>
    /// <param name="index">The place, from 0.</param>
    public BitmapInfo this[int index] => Directory.Bitmaps[index];

    /// <summary>Finds a bitmap by name.</summary>
    /// <param name="name">The name, in the form of <see cref="BitmapInfo.Name"/>.</param>
    /// <param name="bitmap">The first bitmap of that name.</param>
    /// <returns>Whether there is one.</returns>
    public bool TryGet(string name, [NotNullWhen(true)] out BitmapInfo? bitmap)
    {
        ArgumentNullException.ThrowIfNull(name);
        bitmap = Directory.Find(name);
        return bitmap is not null;
    }

    /// <summary>Reads a bitmap's bits into memory.</summary>
    /// <param name="name">The bitmap's name; the first of two with the same name.</param>
    /// <param name="findings">Receives the faults that did not stop the reading.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The bits; only pages that are neither all clean nor all dirty take memory.</returns>
    /// <exception cref="BitmapStateException">There is no such bitmap, or, unless the reader is lenient, it is inconsistent.</exception>
    /// <exception cref="Qcow2FormatException">
    /// The bitmap's table is not allowed. A lenient reader counts broken entries as dirty and refuses only a table that refers to more
    /// clusters than the file has; its bits can still be streamed.
    /// </exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public Task<DirtyBitmap> LoadAsync(
        string name, ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default) =>
        LoadAsync(Require(name), findings, cancellationToken);

    /// <inheritdoc cref="LoadAsync(string, ICollection{FormatFault}, CancellationToken)"/>
    /// <param name="bitmap">A bitmap of this collection, taken since the last edit; distinguishes two bitmaps with the same name.</param>
    public async Task<DirtyBitmap> LoadAsync(
        BitmapInfo bitmap, ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default)
    {
        FaultLog log = _image.NewLog();
        PersistentBitmap pages = await PersistentBitmap.OpenAsync(_image, bitmap, log, cancellationToken).ConfigureAwait(false);
        if (pages.Aliases is { } aliases)
        {
            throw log.Fatal(aliases);
        }

        var bits = new DirtyBitmap(BitmapGeometry.Of(pages));
        await bits.MergeAsync(pages, cancellationToken).ConfigureAwait(false);
        log.CopyTo(findings);
        return bits;
    }

    /// <summary>Reads the ranges of a bitmap sequentially, in bounded memory for any number of bits.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="includeClean">Whether to yield the clean ranges too.</param>
    /// <param name="findings">Receives, at the end, the faults that did not stop the reading.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The ranges in ascending order, neighbours joined.</returns>
    /// <exception cref="BitmapStateException">There is no such bitmap, or, unless the reader is lenient, it is inconsistent.</exception>
    /// <exception cref="Qcow2FormatException">The bitmap's table is not allowed; a lenient reader counts
    /// broken entries as dirty.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public IAsyncEnumerable<DirtyExtent> ReadExtentsAsync(
        string name, bool includeClean = false, ICollection<FormatFault>? findings = null, CancellationToken cancellationToken = default) =>
        ReadExtentsAsync(Require(name), includeClean, findings, cancellationToken);

    /// <inheritdoc cref="ReadExtentsAsync(string, bool, ICollection{FormatFault}, CancellationToken)"/>
    /// <param name="bitmap">A bitmap of this collection, taken since the last edit; distinguishes two bitmaps with the same name.</param>
    public async IAsyncEnumerable<DirtyExtent> ReadExtentsAsync(
        BitmapInfo bitmap, bool includeClean = false, ICollection<FormatFault>? findings = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        FaultLog log = _image.NewLog();
        PersistentBitmap pages = await PersistentBitmap.OpenAsync(_image, bitmap, log, cancellationToken).ConfigureAwait(false);
        var reader = new MergedBitmapReader([pages], pages.SizeBytes, pages.GranularityBits);
        await foreach (DirtyExtent extent in reader.ReadExtentsAsync(includeClean, cancellationToken).ConfigureAwait(false))
        {
            yield return extent;
        }

        log.CopyTo(findings);
    }

    /// <summary>Counts the dirty bytes of a bitmap in bounded memory.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The bytes of the dirty granules, cut at the disk's end.</returns>
    /// <exception cref="BitmapStateException">There is no such bitmap, or, unless the reader is lenient, it is inconsistent.</exception>
    /// <exception cref="Qcow2FormatException">The bitmap's table is not allowed; a lenient reader counts
    /// broken entries as dirty.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public Task<long> CountDirtyBytesAsync(string name, CancellationToken cancellationToken = default) =>
        CountDirtyBytesAsync(Require(name), cancellationToken);

    /// <inheritdoc cref="CountDirtyBytesAsync(string, CancellationToken)"/>
    /// <param name="bitmap">A bitmap of this collection, taken since the last edit; distinguishes two bitmaps with the same name.</param>
    public async Task<long> CountDirtyBytesAsync(BitmapInfo bitmap, CancellationToken cancellationToken = default)
    {
        PersistentBitmap pages = await PersistentBitmap.OpenAsync(_image, bitmap, _image.NewLog(), cancellationToken).ConfigureAwait(false);
        var reader = new MergedBitmapReader([pages], pages.SizeBytes, pages.GranularityBits);
        return (await reader.CountAsync(cancellationToken).ConfigureAwait(false)).Bytes;
    }

    /// <summary>Edits the image's bitmaps atomically: all steps take effect, or none.</summary>
    /// <param name="build">Adds the steps to an empty edit.</param>
    /// <param name="cancellationToken">Cancels the edit while the image is unchanged; a switch that has begun is completed.</param>
    /// <inheritdoc cref="EditAsync(BitmapEdit, CancellationToken)"/>
    public Task EditAsync(Action<BitmapEdit> build, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(build);
        var edit = new BitmapEdit();
        build(edit);
        return EditAsync(edit, cancellationToken);
    }

    /// <summary>Edits the image's bitmaps atomically: all steps take effect, or none.</summary>
    /// <param name="edit">The steps.</param>
    /// <param name="cancellationToken">Cancels the edit while the image is unchanged; a switch that has begun is completed.</param>
    /// <returns>Once the edit is durable. Steps that change nothing write nothing.</returns>
    /// <exception cref="BitmapStateException">A step is refused; nothing was changed.</exception>
    /// <exception cref="Qcow2FormatException">The image is broken in a way that makes writing unsafe; nothing was changed.</exception>
    /// <exception cref="Qcow2UnsupportedException">
    /// The image is read-only, of version 2, or has no space for the bitmaps extension, or the journal of an interrupted
    /// <see cref="BitmapEditSet"/> lies next to its file; nothing was changed.
    /// </exception>
    /// <exception cref="NoSpaceException">The storage cannot grow and is too full; nothing was changed.</exception>
    /// <exception cref="IOException">The storage failed. The image has its old or its new bitmaps, at worst with leaked
    /// clusters.</exception>
    /// <remarks>
    /// New structures are written to free clusters, then counted, and flushed; one write to one sector of the header cluster switches to
    /// them (docs/decisions/images-writing.md); then the old clusters are freed. An interruption at any byte leaves the old or the new
    /// bitmaps. The cost depends on what changes: unchanged bits are neither read nor written. An image with stale reference counts (the
    /// dirty bit of lazy refcounts) is repaired first, as QEMU does whenever it opens one for writing.
    /// </remarks>
    public Task EditAsync(BitmapEdit edit, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(edit);
        return BitmapEditing.RunAsync(_image, edit.ApplyAsync, cancellationToken).AsTask();
    }

    /// <inheritdoc/>
    public IEnumerator<BitmapInfo> GetEnumerator() => Directory.Bitmaps.GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    internal ValueTask<PersistentBitmap> OpenPagesAsync(string name, FaultLog log, CancellationToken cancellationToken) =>
        PersistentBitmap.OpenAsync(_image, Require(name), log, cancellationToken);

    private BitmapInfo Require(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (TryGet(name, out BitmapInfo? bitmap))
        {
            return bitmap;
        }

        string elsewhere = _image.Storage.IsOpenForWritingElsewhere()
            ? ": another process has the image open for writing and may keep it in memory"
            : "";
        throw new BitmapStateException(name, $"Dirty bitmap '{name}' not found{elsewhere}");
    }
}

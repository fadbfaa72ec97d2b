using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps;

/// <summary>Edits of several images that belong together: all take effect, or none.</summary>
/// <remarks>
/// <para>All edits are prepared first (steps checked, new structures written and flushed); if one is refused, or there is no space, no
/// image is changed. Then a small journal is written next to the first image, the images are switched one after another, in the order in
/// which they were added, and the journal is deleted. Each switch is atomic.</para>
/// <para>Guarantees if the process or the machine stops: before the journal is durable, all images are unchanged; once all are switched,
/// all are changed; in between, some are, and the journal records the edit. <see cref="RecoverAsync"/>, which <see cref="CommitAsync"/>
/// calls first, then finishes the edit, or finds that no image was switched and deletes the journal. It refuses if an image was written in
/// between, as far as its file's time, its header and its bitmap directory show: while a journal exists, do not start virtual machines on
/// its images before recovery.</para>
/// <para>Not thread-safe.</para>
/// </remarks>
public sealed class BitmapEditSet
{
    private readonly List<(Qcow2Image Image, BitmapEdit Edit)> _edits = [];

    /// <summary>The images, in the order in which they are switched.</summary>
    internal IEnumerable<Qcow2Image> Images => _edits.Select(static edit => edit.Image);

    /// <summary>The path of the journal of a set with a given first image.</summary>
    /// <param name="imagePath">The path of the first image.</param>
    public static string JournalPathOf(string imagePath) => InterruptedEdit.JournalPathOf(imagePath);

    /// <summary>Adds an image and the edit of its bitmaps.</summary>
    /// <param name="image">The image, open for writing.</param>
    /// <param name="build">Adds the steps to an empty edit.</param>
    /// <returns>This set.</returns>
    /// <exception cref="ArgumentException">The image is in the set already.</exception>
    public BitmapEditSet Add(Qcow2Image image, Action<BitmapEdit> build)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(build);
        if (_edits.Exists(other => ReferenceEquals(other.Image, image)))
        {
            throw new ArgumentException(PrintableMessage.Of($"'{image.Name}' is in the set already"), nameof(image));
        }

        var edit = new BitmapEdit();
        build(edit);
        _edits.Add((image, edit));
        return this;
    }

    /// <summary>Makes all edits, or none.</summary>
    /// <param name="journalPath">The journal's path, on durable storage; next to the first image when null. Two sets must not use the same
    /// path at the same time.</param>
    /// <param name="cancellationToken">Cancels the work while all images are unchanged.</param>
    /// <returns>Once all edits are durable.</returns>
    /// <exception cref="Qcow2Exception">A step of one of the edits is refused, or there is no space; nothing was changed.</exception>
    /// <exception cref="IOException">A storage failed. If the journal still exists, some images may be changed: see
    /// <see cref="RecoverAsync"/>.</exception>
    public async Task CommitAsync(string? journalPath = null, CancellationToken cancellationToken = default)
    {
        if (_edits.Count == 0)
        {
            return;
        }

        journalPath ??= JournalPathOf(_edits[0].Image.Name);
        await SeveralEdits.CommitAsync(
            journalPath,
            [.. _edits.Select(static edit => (edit.Image.Handle, (Func<EditPlan, CancellationToken, ValueTask>)edit.Edit.ApplyAsync))],
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Finishes an interrupted edit of several images, or finds that no image was changed yet.</summary>
    /// <param name="journalPath">The journal's path.</param>
    /// <param name="images">All images that the journal names, open for writing; additional images do no harm. No other file except the
    /// journal is opened.</param>
    /// <param name="cancellationToken">Ends the work before the next image is switched.</param>
    /// <returns>What was done.</returns>
    /// <exception cref="IOException">
    /// The journal names an image that was not given, an image was changed since the journal was written, or the journal is damaged or not
    /// a journal; nothing was changed then, and the journal still exists. Or a storage failed.
    /// </exception>
    public static async Task<EditRecovery> RecoverAsync(
        string journalPath, IReadOnlyCollection<Qcow2Image> images, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(journalPath);
        ArgumentNullException.ThrowIfNull(images);
        return await SeveralEdits.RecoverAsync(
            journalPath, [.. images.Select(static image => image.Handle)], cancellationToken).ConfigureAwait(false);
    }
}

using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Writing;

namespace Qcow2Bitmaps;

/// <summary>Edits of several images that belong together: all take effect, or none.</summary>
/// <remarks>
/// <para>All edits are prepared first (steps checked, new structures written, flushed); if one is refused, or there is no space, no image
/// was changed. Then a small journal is written beside the first image, the images are switched one after another, in the order in which
/// they were added, and the journal is deleted. Each switch is atomic.</para>
/// <para>What is guaranteed when the process or the machine stops: before the journal is durable all images are as before; once all are
/// switched all are as after; between, some are as before and some as after, and the journal says so. <see cref="RecoverAsync"/>, which
/// <see cref="CommitAsync"/> begins with, then finishes the edit, or finds that no image was switched and deletes the journal. It refuses
/// where an image was written in between, as far as its file's time, its header and its bitmap directory tell: whoever has a journal must
/// not start virtual machines on its images before it is recovered.</para>
/// <para>Not thread-safe.</para>
/// </remarks>
public sealed class BitmapEditSet
{
    private readonly List<(Qcow2Image Image, BitmapEdit Edit)> _edits = [];

    /// <summary>The images, in the order in which they are switched.</summary>
    internal IEnumerable<Qcow2Image> Images => _edits.Select(static edit => edit.Image);

    /// <summary>Where the journal of a set stands whose first image has a path.</summary>
    /// <param name="imagePath">The path of the first image.</param>
    public static string JournalPathOf(string imagePath) => InterruptedEdit.JournalPathOf(imagePath);

    /// <summary>Adds an image and what is to be done to its bitmaps.</summary>
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
    /// <param name="journalPath">Where the journal is to stand, on storage that lasts; beside the first image when null.
    /// Two sets must not use one at a time.</param>
    /// <param name="cancellationToken">Ends the work while all images are as before.</param>
    /// <returns>Once all edits are durable.</returns>
    /// <exception cref="Qcow2Exception">A step of one of the edits is refused, or there is no space; nothing was changed.</exception>
    /// <exception cref="IOException">A storage failed. Where the journal is still there, some images may be as after:
    /// see <see cref="RecoverAsync"/>.</exception>
    public async ValueTask CommitAsync(string? journalPath = null, CancellationToken cancellationToken = default)
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

    /// <summary>Finishes an edit of several images that was interrupted, or finds that it had not begun to take effect.</summary>
    /// <param name="journalPath">Where the journal stands.</param>
    /// <param name="images">The images that it names, open for writing: all of them, others beside them do no harm. No file
    /// but these and the journal is opened.</param>
    /// <param name="cancellationToken">Ends the work before the next image is switched.</param>
    /// <returns>What was done.</returns>
    /// <exception cref="IOException">
    /// The journal names an image that was not given, or one was changed since it was written, or it is damaged, or something else; nothing
    /// was changed then, and the journal is still there. Or a storage failed.
    /// </exception>
    public static async ValueTask<EditRecovery> RecoverAsync(
        string journalPath, IReadOnlyCollection<Qcow2Image> images, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(journalPath);
        ArgumentNullException.ThrowIfNull(images);
        return await SeveralEdits.RecoverAsync(
            journalPath, [.. images.Select(static image => image.Handle)], cancellationToken).ConfigureAwait(false);
    }
}

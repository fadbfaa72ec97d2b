using System.Security.Cryptography;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.Writing;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images;

/// <summary>Edits of several images that belong together: all take effect, or none.</summary>
/// <remarks>
/// <para>All edits are prepared first (steps checked, new structures written, flushed); if one is refused, or there is no space, no image was changed. Then a small journal is
/// written beside the first image, the images are switched one after another, in the order in which they were added, and the journal is deleted. Each switch is atomic.</para>
/// <para>What is guaranteed when the process or the machine stops: before the journal is durable all images are as before; once all are switched all are as after; between, some
/// are as before and some as after, and the journal says so. <see cref="RecoverAsync"/>, which <see cref="CommitAsync"/> begins with, then finishes the edit, or finds that no image was
/// switched and deletes the journal. It refuses where an image was written in between, as far as its file's time, its header and its bitmap directory tell: whoever has a
/// journal must not start virtual machines on its images before it is recovered.</para>
/// <para>Not thread-safe.</para>
/// </remarks>
public sealed class BitmapEditSet
{
    private const string JournalSuffix = ".bitmap-edits";
    private const string NotOurs = "the journal was not written by this library";
    private const int MaxJournalBytes = 64 << 20;

    private readonly List<(Qcow2Image Image, BitmapEdit Edit)> _edits = [];

    /// <summary>The images, in the order in which they are switched.</summary>
    public IEnumerable<Qcow2Image> Images => _edits.Select(static edit => edit.Image);

    /// <summary>Where the journal of a set stands whose first image has a path.</summary>
    /// <param name="imagePath">The path of the first image.</param>
    public static string JournalPathOf(string imagePath) => FileNames.Whole(imagePath) + JournalSuffix;

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
    /// <param name="journalPath">Where the journal is to stand, on storage that lasts; beside the first image when null. Two sets must not use one at a time.</param>
    /// <param name="cancellationToken">Ends the work while all images are as before.</param>
    /// <returns>Once all edits are durable.</returns>
    /// <exception cref="Qcow2Exception">A step of one of the edits is refused, or there is no space; nothing was changed.</exception>
    /// <exception cref="IOException">A storage failed. Where the journal is still there, some images may be as after: see <see cref="RecoverAsync"/>.</exception>
    public async ValueTask CommitAsync(string? journalPath = null, CancellationToken cancellationToken = default)
    {
        if (_edits.Count == 0)
        {
            return;
        }

        journalPath ??= JournalPathOf(_edits[0].Image.Name);
        Qcow2Image[] images = [.. Images];
        await HoldAsync(
            images,
            async () =>
            {
                await RecoverHeldAsync(journalPath, images, cancellationToken).ConfigureAwait(false);
                await CommitHeldAsync(journalPath, cancellationToken).ConfigureAwait(false);
                return true;
            },
            cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Finishes an edit of several images that was interrupted, or finds that it had not begun to take effect.</summary>
    /// <param name="journalPath">Where the journal stands.</param>
    /// <param name="images">The images that it names, open for writing: all of them, others beside them do no harm. No file but these and the journal is opened.</param>
    /// <param name="cancellationToken">Ends the work before the next image is switched.</param>
    /// <returns>What was done.</returns>
    /// <exception cref="IOException">
    /// The journal names an image that was not given, or one was changed since it was written, or it is damaged, or something else; nothing was changed then, and the journal is still
    /// there. Or a storage failed.
    /// </exception>
    public static async ValueTask<EditRecovery> RecoverAsync(
        string journalPath, IReadOnlyCollection<Qcow2Image> images, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(journalPath);
        ArgumentNullException.ThrowIfNull(images);
        return await HoldAsync(images, async () => await RecoverHeldAsync(journalPath, images, cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Does something while nobody else edits the images.</summary>
    private static async ValueTask<T> HoldAsync<T>(IReadOnlyCollection<Qcow2Image> images, Func<ValueTask<T>> work, CancellationToken cancellationToken)
    {
        var held = new List<ImageGate>();
        try
        {
            // Always in one order, so that two sets do not wait for one another.
            foreach (Qcow2Image image in images.Distinct().OrderBy(static image => image.Name, StringComparer.Ordinal))
            {
                await image.EnterAsync(cancellationToken).ConfigureAwait(false);
                held.Add(image.Editing);
                image.RequireNotRecorded();
            }

            return await work().ConfigureAwait(false);
        }
        finally
        {
            held.ForEach(static gate => gate.Release());
        }
    }

    private static async ValueTask<EditRecovery> RecoverHeldAsync(string journalPath, IReadOnlyCollection<Qcow2Image> images, CancellationToken cancellationToken)
    {
        if (DurableFile.TryRead(journalPath, MaxJournalBytes) is not { } journal)
        {
            return EditRecovery.NothingToDo;
        }

        IReadOnlyList<JournalEntry> entries = Read(journalPath, journal);
        var states = new List<(Qcow2Image Image, JournalEntry Entry, int Done)>();
        foreach (JournalEntry entry in entries)
        {
            Qcow2Image image = images.FirstOrDefault(image => string.Equals(FileNames.Whole(image.Name), entry.Path, StringComparison.Ordinal))
                ?? throw Unrecoverable(journalPath, entry, "it is needed to finish the edit and was not given");
            states.Add((image, entry, await StagesDoneAsync(journalPath, image, entry, cancellationToken).ConfigureAwait(false)));
        }

        if (!states.Exists(static state => state.Done > 0))
        {
            DurableFile.Delete(journalPath);
            return EditRecovery.RolledBack;
        }

        foreach ((Qcow2Image image, JournalEntry entry, int done) in states)
        {
            await RequireUntouchedAsync(journalPath, image, entry, done, cancellationToken).ConfigureAwait(false);
            if (done < entry.Plan.Stages.Count
                && !await PreparedClusters.AreCountedAsync(image.Storage, entry, image.Bitmaps, image.Limits, cancellationToken).ConfigureAwait(false))
            {
                throw Unrecoverable(journalPath, entry, "what was prepared for it was freed since, as leaks are by a repair");
            }
        }

        foreach ((Qcow2Image image, JournalEntry entry, int done) in states)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await entry.Plan.ApplyAsync(image.Storage, done).ConfigureAwait(false);
            await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
        }

        _ = DeleteJournal(journalPath);
        return EditRecovery.Finished;
    }

    private static IReadOnlyList<JournalEntry> Read(string journalPath, byte[] journal)
    {
        try
        {
            return EditJournal.Read(journal);
        }
        catch (IOException e)
        {
            throw IOException.Of($"'{journalPath}' cannot be read as the journal of an edit: {e}. It was left as it is", e);
        }
    }

    private async ValueTask CommitHeldAsync(string journalPath, CancellationToken cancellationToken)
    {
        var prepared = new List<(Qcow2Image Image, PreparedEdit Edit)>();
        bool isBegun = false;
        try
        {
            foreach ((Qcow2Image image, BitmapEdit edit) in _edits)
            {
                if (await PreparedEdit.PrepareAsync(image, edit, cancellationToken).ConfigureAwait(false) is { } one)
                {
                    prepared.Add((image, one));
                }
            }

            // One switch is atomic by itself.
            bool needsJournal = prepared.Count > 1;
            if (needsJournal)
            {
                await WriteJournalAsync(journalPath, prepared, cancellationToken).ConfigureAwait(false);
            }

            isBegun = true;
            if (needsJournal)
            {
                await SwitchAllAsync(journalPath, prepared).ConfigureAwait(false);
            }
            else if (prepared.Count > 0)
            {
                await prepared[0].Edit.Transaction.SwitchOrRollBackAsync().ConfigureAwait(false);
            }

            if (needsJournal && !DeleteJournal(journalPath))
            {
                // What was replaced stays as it is: whoever finds the journal looks at it.
                return;
            }

            foreach ((_, PreparedEdit edit) in prepared)
            {
                await edit.ReleaseAsync().ConfigureAwait(false);
            }
        }
        finally
        {
            await EndAsync(prepared, isBegun).ConfigureAwait(false);
        }
    }

    private static async ValueTask SwitchAllAsync(string journalPath, List<(Qcow2Image Image, PreparedEdit Edit)> prepared)
    {
        try
        {
            foreach ((_, PreparedEdit edit) in prepared)
            {
                await edit.Transaction.SwitchAsync().ConfigureAwait(false);
            }
        }
        catch (IOException e)
        {
            throw IOException.Of(
                $"The edit of {prepared.Count} images is interrupted: {e}. 'bitmap --recover' with all of them finishes it, as '{journalPath}' says", e);
        }
    }

    private static bool DeleteJournal(string journalPath) => Leftovers.Tidy(
        $"The edit of several images is done, but its journal '{journalPath}' stays, and clusters that it has freed stay counted; 'bitmap --recover' with all its images removes it",
        () => DurableFile.Delete(journalPath));

    /// <summary>Reads the images again, or takes their preparations back: all of them, also where one storage fails.</summary>
    private static async ValueTask EndAsync(List<(Qcow2Image Image, PreparedEdit Edit)> prepared, bool isBegun)
    {
        foreach ((Qcow2Image image, PreparedEdit edit) in prepared)
        {
            if (isBegun)
            {
                await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
            }
            else
            {
                // The error that led here is on its way and tells more.
                _ = await Leftovers.TidyAsync($"'{image.Name}': clusters that were prepared for an edit stay counted ('check -r leaks' gives them back)", edit.Transaction.RollBackAsync).ConfigureAwait(false);
            }
        }
    }

    private static async ValueTask WriteJournalAsync(
        string journalPath, List<(Qcow2Image Image, PreparedEdit Edit)> prepared, CancellationToken cancellationToken)
    {
        var entries = new List<JournalEntry>();
        foreach ((Qcow2Image image, PreparedEdit edit) in prepared)
        {
            var directories = new List<JournalDirectory>();
            foreach ((long offset, int length) in edit.Directories)
            {
                directories.Add(new JournalDirectory(offset, length, await HashAsync(image.Storage, offset, length, cancellationToken).ConfigureAwait(false)));
            }

            entries.Add(new JournalEntry(FileNames.Whole(image.Name), image.Storage.LastWrite, directories, edit.Transaction.Plan));
        }

        DurableFile.Write(journalPath, EditJournal.ToBytes(entries), FileRights.Of(prepared.Select(static one => one.Image.Storage)));
    }

    private static async ValueTask<byte[]> HashAsync(ImageStorage storage, long offset, int length, CancellationToken cancellationToken)
    {
        var bytes = new byte[length];
        await storage.ReadZeroFilledAsync(offset, bytes, cancellationToken).ConfigureAwait(false);
        return SHA256.HashData(bytes);
    }

    private static async ValueTask<int> StagesDoneAsync(string journalPath, Qcow2Image image, JournalEntry entry, CancellationToken cancellationToken)
    {
        using MemoryOwner<byte> first = MemoryOwner<byte>.Allocate(image.ClusterSizeBytes);
        await image.Storage.ReadZeroFilledAsync(0, first.Memory, cancellationToken).ConfigureAwait(false);
        int done = !entry.ChangesOnlyExtensions((int)image.Header.HeaderLength)
            ? throw Unrecoverable(journalPath, entry, NotOurs)
            : entry.Plan.CountDone(first.Span) ?? throw Unrecoverable(journalPath, entry, "its header was changed since");
        return entry.KeepsAllButBitmaps(first.Memory, image.Header) ? done : throw Unrecoverable(journalPath, entry, NotOurs);
    }

    /// <summary>Refuses to finish where somebody has written an image that was not switched yet: its new bitmaps would miss that.</summary>
    private static async ValueTask RequireUntouchedAsync(string journalPath, Qcow2Image image, JournalEntry entry, int done, CancellationToken cancellationToken)
    {
        if (done == 0 && image.Storage.LastWrite != entry.LastWrite)
        {
            throw Unrecoverable(journalPath, entry, "it was written since");
        }

        foreach (JournalDirectory directory in entry.Directories)
        {
            byte[] hash = await HashAsync(image.Storage, directory.Offset, directory.LengthBytes, cancellationToken).ConfigureAwait(false);
            if (!hash.AsSpan().SequenceEqual(directory.Sha256.Span))
            {
                throw Unrecoverable(journalPath, entry, "its bitmaps were written since");
            }
        }
    }

    private static IOException Unrecoverable(string journalPath, JournalEntry entry, string why) => IOException.Of(
        $"An edit of several images was interrupted, as '{journalPath}' says, and cannot be finished for '{entry.Path}': {why}. Nothing was changed. The bitmaps of the edit may differ between its images; once they are seen to, the journal can be deleted");
}

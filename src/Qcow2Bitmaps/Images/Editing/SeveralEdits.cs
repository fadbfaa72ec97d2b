using System.Security.Cryptography;
using CommunityToolkit.HighPerformance.Buffers;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>
/// Edits the bitmaps of several images so that all are changed or none; a journal makes it possible to finish an interrupted edit.
/// </summary>
internal static class SeveralEdits
{
    private const string NotOurs = "the journal was not written by this library";
    private const int MaxJournalBytes = 64 << 20;

    /// <summary>Finishes an earlier interrupted edit, then commits all edits, or none.</summary>
    /// <param name="journalPath">The journal's path.</param>
    /// <param name="edits">The images, each once, in the order in which they are switched, and what applies the steps to a plan.</param>
    /// <param name="cancellationToken">Cancels the work while all images are unchanged.</param>
    /// <exception cref="Qcow2Exception">A step of one of the edits is refused, or there is no space; nothing was changed.</exception>
    /// <exception cref="IOException">A storage failed. If the journal still exists, some images may be changed.</exception>
    public static async ValueTask CommitAsync(
        string journalPath, IReadOnlyList<(ImageHandle Image, Func<EditPlan, CancellationToken, ValueTask> Steps)> edits,
        CancellationToken cancellationToken)
    {
        ImageHandle[] images = [.. edits.Select(static edit => edit.Image)];
        await HoldAsync(
            images,
            async () =>
            {
                await RecoverHeldAsync(journalPath, images, cancellationToken).ConfigureAwait(false);
                await CommitHeldAsync(journalPath, edits, cancellationToken).ConfigureAwait(false);
                return true;
            },
            cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc cref="BitmapEditSet.RecoverAsync"/>
    public static ValueTask<EditRecovery> RecoverAsync(
        string journalPath, IReadOnlyCollection<ImageHandle> images, CancellationToken cancellationToken) =>
        HoldAsync(images, () => RecoverHeldAsync(journalPath, images, cancellationToken), cancellationToken);

    /// <summary>Runs an action while no other caller edits the images.</summary>
    private static async ValueTask<T> HoldAsync<T>(
        IReadOnlyCollection<ImageHandle> images, Func<ValueTask<T>> work, CancellationToken cancellationToken)
    {
        var held = new List<ImageGate.Release>();
        try
        {
            // Always in the same order, so that two sets cannot deadlock.
            foreach (ImageHandle image in images.Distinct().OrderBy(static image => image.Name, StringComparer.Ordinal))
            {
                held.Add(await image.EnterAsync(cancellationToken).ConfigureAwait(false));
                image.RequireNotRecorded();
            }

            return await work().ConfigureAwait(false);
        }
        finally
        {
            held.ForEach(static alone => alone.Dispose());
        }
    }

    private static async ValueTask<EditRecovery> RecoverHeldAsync(
        string journalPath, IReadOnlyCollection<ImageHandle> images, CancellationToken cancellationToken)
    {
        if (DurableFile.TryRead(journalPath, MaxJournalBytes) is not { } journal)
        {
            return EditRecovery.NothingToDo;
        }

        IReadOnlyList<JournalEntry> entries = Read(journalPath, journal);
        var states = new List<(ImageHandle Image, JournalEntry Entry, int Done)>();
        foreach (JournalEntry entry in entries)
        {
            ImageHandle image = images.FirstOrDefault(
                image => string.Equals(FileNames.Whole(image.Name), entry.Path, StringComparison.Ordinal))
                ?? throw Unrecoverable(journalPath, entry, "it is needed to finish the edit and was not given");
            states.Add((image, entry, await StagesDoneAsync(journalPath, image, entry, cancellationToken).ConfigureAwait(false)));
        }

        if (!states.Exists(static state => state.Done > 0))
        {
            DurableFile.Delete(journalPath);
            return EditRecovery.RolledBack;
        }

        foreach ((ImageHandle image, JournalEntry entry, int done) in states)
        {
            await RequireUntouchedAsync(journalPath, image, entry, done, cancellationToken).ConfigureAwait(false);
            if (done < entry.Plan.Stages.Count
                && !await PreparedClusters.AreCountedAsync(
                    image.Storage, entry, image.Contents.Bitmaps.Bitmaps, image.Limits, cancellationToken).ConfigureAwait(false))
            {
                throw Unrecoverable(journalPath, entry, "what was prepared for it was freed since, as leaks are by a repair");
            }
        }

        foreach ((ImageHandle image, JournalEntry entry, int done) in states)
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

    private static async ValueTask CommitHeldAsync(
        string journalPath, IReadOnlyList<(ImageHandle Image, Func<EditPlan, CancellationToken, ValueTask> Steps)> edits,
        CancellationToken cancellationToken)
    {
        var prepared = new List<(ImageHandle Image, PreparedEdit Edit)>();
        bool isBegun = false;
        try
        {
            foreach ((ImageHandle image, Func<EditPlan, CancellationToken, ValueTask> steps) in edits)
            {
                if (await PreparedEdit.PrepareAsync(image, steps, cancellationToken).ConfigureAwait(false) is { } one)
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
                // Keeps the replaced structures: recovery from the journal checks them.
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

    private static async ValueTask SwitchAllAsync(string journalPath, List<(ImageHandle Image, PreparedEdit Edit)> prepared)
    {
        try
        {
            foreach ((_, PreparedEdit edit) in prepared)
            {
                await edit.Transaction.SwitchAsync().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw IOException.Of(
                $"The edit of {prepared.Count} images is interrupted: {e}. Recovering all of them by the journal '{journalPath}' "
                + $"finishes it",
                e);
        }
    }

    private static bool DeleteJournal(string journalPath) => Leftovers.Tidy(
        $"The edit of several images is done, but its journal '{journalPath}' stays, and clusters that it has freed stay counted; "
        + $"recovering all its images removes it",
        () => DurableFile.Delete(journalPath));

    /// <summary>Reloads the images, or rolls their preparations back: all of them, even if one storage fails.</summary>
    private static async ValueTask EndAsync(List<(ImageHandle Image, PreparedEdit Edit)> prepared, bool isBegun)
    {
        foreach ((ImageHandle image, PreparedEdit edit) in prepared)
        {
            if (isBegun)
            {
                await image.ReloadAfterSwitchAsync().ConfigureAwait(false);
            }
            else
            {
                // The error that led here is already being thrown, and is more useful.
                _ = await Leftovers.TidyAsync(
                    $"'{image.Name}': clusters that were prepared for an edit stay counted (a repair of leaks gives them back)",
                    edit.Transaction.RollBackAsync).ConfigureAwait(false);
            }
        }
    }

    private static async ValueTask WriteJournalAsync(
        string journalPath, List<(ImageHandle Image, PreparedEdit Edit)> prepared, CancellationToken cancellationToken)
    {
        var entries = new List<JournalEntry>();
        foreach ((ImageHandle image, PreparedEdit edit) in prepared)
        {
            var directories = new List<JournalDirectory>();
            foreach ((long offset, int length) in edit.Directories)
            {
                directories.Add(
                    new JournalDirectory(
                        offset, length, await HashAsync(image.Storage, offset, length, cancellationToken).ConfigureAwait(false)));
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

    private static async ValueTask<int> StagesDoneAsync(
        string journalPath, ImageHandle image, JournalEntry entry, CancellationToken cancellationToken)
    {
        using MemoryOwner<byte> first = MemoryOwner<byte>.Allocate(image.Geometry.ClusterSizeBytes);
        await image.Storage.ReadZeroFilledAsync(0, first.Memory, cancellationToken).ConfigureAwait(false);
        int done = !entry.ChangesOnlyExtensions((int)image.Header.HeaderLength)
            ? throw Unrecoverable(journalPath, entry, NotOurs)
            : entry.Plan.CountDone(first.Span) ?? throw Unrecoverable(journalPath, entry, "its header was changed since");
        return entry.KeepsAllButBitmaps(first.Memory, image.Header) ? done : throw Unrecoverable(journalPath, entry, NotOurs);
    }

    /// <summary>Refuses to finish if an image that is not switched yet was written meanwhile: its new bitmaps would miss that
    /// write.</summary>
    private static async ValueTask RequireUntouchedAsync(
        string journalPath, ImageHandle image, JournalEntry entry, int done, CancellationToken cancellationToken)
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
        $"An edit of several images was interrupted, as '{journalPath}' says, and cannot be finished for '{entry.Path}': {why}. "
        + $"Nothing was changed. The bitmaps of the edit may differ between its images; once they are seen to, the journal can be deleted");
}

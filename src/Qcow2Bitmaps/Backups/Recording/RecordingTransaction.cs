using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Backups.Recording;

/// <summary>
/// Steps on the bitmaps of one or several sessions that are done atomically: all, or none. Backups can start among them, at the same point
/// in time as the other steps.
/// </summary>
/// <remarks>
/// Steps are only collected here. Each step sees the effects of those before it. No write runs meanwhile in any of the sessions, so that
/// for the guest all steps happen at one point in time. Not thread-safe; several transactions may be committed concurrently.
/// </remarks>
public sealed class RecordingTransaction
{
    private readonly List<(string Operation, RecordingSession Session, Func<Applied, Action> Apply)> _steps = [];
    private readonly HashSet<RecordingSession> _sessions = [];

    /// <summary>Adds an empty bitmap.</summary>
    /// <param name="session">The session.</param>
    /// <param name="name">Its name: 1 to 1023 bytes of UTF-8 without NUL.</param>
    /// <param name="granularityBytes">How many bytes a bit represents, a power of two of at least 512; null for QEMU's default, the cluster
    /// size limited to 4 KiB to 64 KiB.</param>
    /// <param name="isPersistent">Whether it is stored at the next checkpoint; else it is gone when the session is closed.</param>
    /// <param name="isRecording">Whether it records writes.</param>
    /// <returns>This transaction.</returns>
    public RecordingTransaction Add(
        RecordingSession session, string name, long? granularityBytes = null, bool isPersistent = false, bool isRecording = true) =>
        Step("add", session, name, _ => session.ApplyAdd(name, granularityBytes, isPersistent, isRecording));

    /// <summary>
    /// Removes a bitmap, an inconsistent one too; from the image at once. Later steps of the same
    /// transaction find it busy, and its name taken.
    /// </summary>
    /// <param name="session">The session.</param>
    /// <param name="name">Its name.</param>
    /// <returns>This transaction.</returns>
    public RecordingTransaction Remove(RecordingSession session, string name) => Step("remove", session, name, applied =>
    {
        (Action undo, bool isStored) = session.ApplyRemove(name);
        if (isStored)
        {
            applied.Removed.Add((session, name));
        }

        return undo;
    });

    /// <summary>Clears a bitmap.</summary>
    /// <inheritdoc cref="Remove" path="/param|/returns"/>
    public RecordingTransaction Clear(RecordingSession session, string name) => Step("clear", session, name, _ => session.ApplyClear(name));

    /// <summary>Enables a bitmap to record writes.</summary>
    /// <inheritdoc cref="Remove" path="/param|/returns"/>
    public RecordingTransaction Enable(RecordingSession session, string name) => Step("enable", session, name, applied =>
    {
        Action undo = session.ApplyEnabled(name, true);
        applied.NoteGrowth(session, name);
        return undo;
    });

    /// <summary>Disables a bitmap, so that it no longer records writes.</summary>
    /// <inheritdoc cref="Remove" path="/param|/returns"/>
    public RecordingTransaction Disable(RecordingSession session, string name) =>
        Step("disable", session, name, _ => session.ApplyEnabled(name, false));

    /// <summary>
    /// Adds to a bitmap everything that another one marks as dirty, rounded out to its granules. The disks must have the same size.
    /// </summary>
    /// <param name="session">The session.</param>
    /// <param name="into">The destination bitmap.</param>
    /// <param name="source">The source bitmap.</param>
    /// <param name="sourceSession">The session of the source bitmap; null if it is the same one.</param>
    /// <returns>This transaction.</returns>
    public RecordingTransaction Merge(
        RecordingSession session, string into, string source, RecordingSession? sourceSession = null)
    {
        ArgumentNullException.ThrowIfNull(source);
        RecordingSession from = sourceSession ?? session;
        if (sourceSession is not null)
        {
            _sessions.Add(sourceSession);
        }

        return Merge(session, into, () => session.ApplyMerge(into, from, source));
    }

    /// <summary>Adds to a bitmap everything that bits in memory mark as dirty, for example those of another image.</summary>
    /// <param name="session">The session.</param>
    /// <param name="into">The destination bitmap.</param>
    /// <param name="bits">The bits. They must not change until the transaction is done.</param>
    /// <returns>This transaction.</returns>
    public RecordingTransaction Merge(RecordingSession session, string into, DirtyBitmap bits)
    {
        ArgumentNullException.ThrowIfNull(bits);
        return Merge(session, into, () => session.ApplyMerge(into, bits));
    }

    /// <summary>Starts a backup: the target becomes what the disk is at the moment of the transaction.</summary>
    /// <param name="session">The session.</param>
    /// <param name="options">What is copied, and where to.</param>
    /// <returns>This transaction.</returns>
    public RecordingTransaction Backup(RecordingSession session, BackupJobOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return Step("backup", session, "", applied =>
        {
            (BackupJob job, Action undo) = session.ApplyBackup(options);
            applied.Jobs.Add(job);
            return undo;
        });
    }

    /// <summary>Checks whether all steps would be accepted now, without changing anything. Targets' disks are not read.</summary>
    /// <param name="cancellationToken">Ends the wait for the sessions.</param>
    /// <exception cref="BitmapStateException">A step would be refused, in QEMU's words.</exception>
    /// <exception cref="Qcow2Exception">An image could not take a bitmap.</exception>
    /// <exception cref="ObjectDisposedException">A session is closed.</exception>
    public async Task CheckAsync(CancellationToken cancellationToken = default) =>
        await RunAsync(isTrial: true, cancellationToken).ConfigureAwait(false);

    /// <summary>Does all steps, or none.</summary>
    /// <param name="cancellationToken">Ends the work while nothing is changed.</param>
    /// <returns>The jobs that were started, in the order of their steps.</returns>
    /// <exception cref="BitmapStateException">A step is refused, in QEMU's words; nothing was changed.</exception>
    /// <exception cref="Qcow2Exception">An image cannot take a bitmap; nothing was changed.</exception>
    /// <exception cref="ObjectDisposedException">A session is closed; nothing was changed.</exception>
    /// <exception cref="IOException">
    /// The storage failed while bitmaps were being marked as in use in an image, or deleted from it. Nothing was changed in memory, and a
    /// bitmap that was deleted from the image is stored again at the next checkpoint.
    /// </exception>
    public Task<IReadOnlyList<BackupJob>> CommitAsync(CancellationToken cancellationToken = default) =>
        RunAsync(isTrial: false, cancellationToken).AsTask();

    private async ValueTask<IReadOnlyList<BackupJob>> RunAsync(bool isTrial, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var held = new List<SharedLock.Release>();
        try
        {
            // Always in the same order, so that two transactions cannot deadlock.
            foreach (RecordingSession session in _sessions.OrderBy(static session => session.Number))
            {
                held.Add(await session.EnterAloneAsync(cancellationToken).ConfigureAwait(false));
            }

            return await ApplyAsync(isTrial, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            held.ForEach(static alone => alone.Dispose());
        }
    }

    private async ValueTask<IReadOnlyList<BackupJob>> ApplyAsync(bool isTrial, CancellationToken cancellationToken)
    {
        var applied = new Applied();
        var undo = new Stack<(RecordingSession Session, Action Undo)>();
        bool isDone = false;
        try
        {
            foreach ((string operation, RecordingSession session, Func<Applied, Action> apply) in _steps)
            {
                try
                {
                    session.WithBits(() => undo.Push((session, apply(applied))));
                }
                catch (BitmapStateException e)
                {
                    e.Operation = operation;
                    throw;
                }
            }

            if (isTrial)
            {
                return [];
            }

            foreach (BackupJob job in applied.Jobs)
            {
                await job.PrepareAsync(cancellationToken).ConfigureAwait(false);
            }

            // A process that is killed after this must not leave a bitmap that looks valid and lacks what was merged into it, above all if
            // the source is deleted next.
            foreach (RecordingSession session in applied.Grown)
            {
                await session.MarkStoredAsync(cancellationToken).ConfigureAwait(false);
            }

            foreach (IGrouping<RecordingSession, string> names
                in applied.Removed.GroupBy(static removed => removed.Session, static removed => removed.Name))
            {
                await names.Key.DeleteStoredAsync(names.Distinct(StringComparer.Ordinal), cancellationToken).ConfigureAwait(false);
            }

            foreach (RecordingSession session in _sessions)
            {
                session.CompleteRemoval();
            }

            isDone = true;
        }
        finally
        {
            while (!isDone && undo.TryPop(out (RecordingSession Session, Action Undo) step))
            {
                step.Session.WithBits(step.Undo);
            }
        }

        applied.Jobs.ForEach(static job => job.Start());
        return applied.Jobs;
    }

    private RecordingTransaction Merge(RecordingSession session, string into, Func<Action> merge) =>
        Step("merge", session, into, applied =>
        {
            Action undo = merge();
            applied.NoteGrowth(session, into);
            return undo;
        });

    private RecordingTransaction Step(string operation, RecordingSession session, string name, Func<Applied, Action> apply)
    {
        ArgumentNullException.ThrowIfNull(session);
        ArgumentNullException.ThrowIfNull(name);
        _sessions.Add(session);
        _steps.Add((operation, session, apply));
        return this;
    }

    private sealed class Applied
    {
        public List<BackupJob> Jobs { get; } = [];

        public List<(RecordingSession Session, string Name)> Removed { get; } = [];

        /// <summary>The sessions with a bitmap that now contains more than its copy in the image.</summary>
        public HashSet<RecordingSession> Grown { get; } = [];

        public void NoteGrowth(RecordingSession session, string name)
        {
            if (session.IsInImage(name))
            {
                Grown.Add(session);
            }
        }
    }
}

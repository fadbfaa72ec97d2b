using Qcow2Bitmaps.Backups.Recording;

namespace Qcow2Bitmaps.Tests.Backups.Recording;

/// <summary>Transactions of one step, and one of a session's bitmaps.</summary>
internal static class SingleSteps
{
    public static RecordedBitmap? Find(this RecordingSession session, string name) =>
        session.Bitmaps.FirstOrDefault(bitmap => bitmap.Name == name);

    public static async ValueTask AddAsync(
        this RecordingSession session, string name, long? granularityBytes = null, bool isPersistent = false,
        CancellationToken cancellationToken = default) =>
        await new RecordingTransaction().Add(session, name, granularityBytes, isPersistent).CommitAsync(cancellationToken);

    public static async ValueTask RemoveAsync(this RecordingSession session, string name, CancellationToken cancellationToken = default) =>
        await new RecordingTransaction().Remove(session, name).CommitAsync(cancellationToken);

    public static async ValueTask ClearAsync(this RecordingSession session, string name, CancellationToken cancellationToken = default) =>
        await new RecordingTransaction().Clear(session, name).CommitAsync(cancellationToken);

    public static async ValueTask EnableAsync(this RecordingSession session, string name, CancellationToken cancellationToken = default) =>
        await new RecordingTransaction().Enable(session, name).CommitAsync(cancellationToken);

    public static async ValueTask DisableAsync(this RecordingSession session, string name, CancellationToken cancellationToken = default) =>
        await new RecordingTransaction().Disable(session, name).CommitAsync(cancellationToken);

    public static RecordingTransaction Merge(
        this RecordingTransaction transaction, RecordingSession session, string into, IReadOnlyList<string> sources) =>
        sources.Aggregate(transaction, (merged, source) => merged.Merge(session, into, source));
}

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

    public static ValueTask<int> ReadAsync(
        this RecordingSession session, long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        session.Disk.ReadAsync(offsetBytes, buffer, cancellationToken);

    public static ValueTask WriteAsync(
        this RecordingSession session, long offsetBytes, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken = default) =>
        session.Disk.WriteAsync(offsetBytes, bytes, cancellationToken);

    public static ValueTask WriteZerosAsync(
        this RecordingSession session, long offsetBytes, long lengthBytes, bool mayUnmap = false,
        CancellationToken cancellationToken = default) =>
        session.Disk.WriteZerosAsync(offsetBytes, lengthBytes, mayUnmap, cancellationToken);

    public static ValueTask DiscardAsync(
        this RecordingSession session, long offsetBytes, long lengthBytes, CancellationToken cancellationToken = default) =>
        session.Disk.DiscardAsync(offsetBytes, lengthBytes, cancellationToken);

    public static ValueTask WriteCompressedAsync(
        this RecordingSession session, long offsetBytes, ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken = default) =>
        session.Disk.WriteCompressedAsync(offsetBytes, cluster, cancellationToken);

    public static ValueTask FlushAsync(this RecordingSession session, CancellationToken cancellationToken = default) =>
        session.Disk.FlushAsync(cancellationToken);
}

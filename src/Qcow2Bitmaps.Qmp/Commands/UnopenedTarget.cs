namespace Qcow2Bitmaps.Qmp.Commands;

/// <summary>A placeholder that is never written, to check whether a backup would start.</summary>
internal sealed class UnopenedTarget(long sizeBytes) : Disk
{
    public override string Name => "";

    public override long SizeBytes => sizeBytes;

    public override bool CanWrite => true;

    // The real target is checked again when it is open.
    public override bool CanCompress => true;

    public override ValueTask<int> ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException();
}

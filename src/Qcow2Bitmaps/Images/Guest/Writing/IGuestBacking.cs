namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>What shows through where an image has nothing: the guest's view of its backing file.</summary>
internal interface IGuestBacking
{
    /// <summary>Fills a buffer; behind the backing disk's end with zeros.</summary>
    /// <param name="offsetBytes">Where to start on the disk, in bytes.</param>
    /// <param name="buffer">Takes the bytes.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    ValueTask ReadAsync(long offsetBytes, Memory<byte> buffer, CancellationToken cancellationToken);
}

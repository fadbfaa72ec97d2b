using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Reads disks of 1 MiB of images that mean harm.</summary>
internal static class HostileReading
{
    /// <summary>Reads all of the disk, or gets the error that says why not.</summary>
    public static async Task<(byte[]? Bytes, Qcow2Exception? Error)> ReadAsync(byte[] content)
    {
        try
        {
            await using ImageChain chain = await ImageChain.OpenAsync(
                MemoryStorage.ReadOnly(content), cancellationToken: TestContext.Current.CancellationToken);
            var bytes = new byte[1 << 20];
            Assert.Equal(bytes.Length, await chain.ReadAsync(0, bytes, TestContext.Current.CancellationToken));
            return (bytes, null);
        }
        catch (Qcow2Exception e)
        {
            return (null, e);
        }
    }
}

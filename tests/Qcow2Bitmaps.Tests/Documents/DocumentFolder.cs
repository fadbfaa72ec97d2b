using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>The folder in which the blocks of a page run, one after the other, with the images that they speak of.</summary>
internal sealed class DocumentFolder : IDisposable
{
    private const long MiB = 1 << 20;
    private const int TypeOffset = 16;

    private readonly TempFolder _folder = new();

    private DocumentFolder()
    {
    }

    public string Path => _folder.Path;

    /// <summary>
    /// Makes the folder: two disks, a chain of three images that hold <c>chk-a</c>, one whose middle image does not, and a damaged image.
    /// </summary>
    public static async Task<DocumentFolder> CreateAsync()
    {
        var folder = new DocumentFolder();
        Directory.CreateSymbolicLink(folder._folder.File("fixtures"), System.IO.Path.Combine(Document.Root, "fixtures"));
        foreach (string disk in new[] { "vda.qcow2", "vdb.qcow2", "vda-1.qcow2", "base.qcow2" })
        {
            await folder.CreateDiskAsync(disk);
        }

        await folder.OverlayAsync("vda-1.qcow2", "vda-2.qcow2", 2 * MiB);
        await folder.OverlayAsync("vda-2.qcow2", "vda-3.qcow2", 700 * MiB);
        await folder.OverlayAsync("base.qcow2", "mid.qcow2", 2 * MiB);
        await folder.OverlayAsync("mid.qcow2", "top.qcow2", 700 * MiB);
        await using Qcow2Image middle = await Qcow2Image.OpenAsync(folder._folder.File("mid.qcow2"), FileAccess.ReadWrite);
        await middle.Bitmaps.EditAsync(static edit => edit.RemoveAll());
        folder._folder.Write("damaged.qcow2", await DamagedAsync());
        return folder;
    }

    public void Dispose() => _folder.Dispose();

    /// <summary>
    /// An image with two inconsistent bitmaps and a good one, of which the first has a type that nobody knows: QEMU does not open it.
    /// </summary>
    private static async Task<byte[]> DamagedAsync()
    {
        byte[] bytes = await File.ReadAllBytesAsync(System.IO.Path.Combine(FixtureFiles.Root, "images", "in-use-and-good.qcow2"));
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly([.. bytes]));
        ReadOnlyMemory<byte> data = image.Extensions.Single(static extension => extension.Type == HeaderExtensionType.Bitmaps).Data;
        Assert.True(BitmapsExtension.TryRead(data.Span, 0, out BitmapsExtension extension, out _));
        bytes[(int)extension.DirectoryOffset + TypeOffset] = 7;
        return bytes;
    }

    private async Task CreateDiskAsync(string name)
    {
        await Qcow2Image.CreateAsync(_folder.File(name), new Qcow2CreateOptions { SizeBytes = 1 << 30 });
        await using Qcow2Image image = await Qcow2Image.OpenAsync(_folder.File(name), FileAccess.ReadWrite);
        await WriteAsync(image, 0, 4 << 20);
        await image.Bitmaps.EditAsync(static edit => edit.Add("chk-a", granularityBytes: 65536));
        await WriteAsync(image, MiB, 128 << 10);
        await WriteAsync(image, 512 * MiB, 64 << 10);
    }

    private async Task OverlayAsync(string below, string name, long writtenAtBytes)
    {
        await using (ImageChain chain = await ImageChain.OpenAsync(_folder.File(below)))
        {
            await new ChainSnapshot(chain, _folder.File(name), below).RunAsync();
        }

        await using ImageChain overlay = await ImageChain.OpenAsync(_folder.File(name), new ChainOpenOptions { WritableLayers = [0] });
        await using Disk writer = await overlay.OpenWriterAsync();
        await writer.WriteAsync(writtenAtBytes, Bytes(64 << 10));
    }

    private static async Task WriteAsync(Qcow2Image image, long offsetBytes, int lengthBytes)
    {
        await using Disk writer = await image.OpenWriterAsync();
        await writer.WriteAsync(offsetBytes, Bytes(lengthBytes));
    }

    private static byte[] Bytes(int lengthBytes)
    {
        byte[] bytes = new byte[lengthBytes];
        Array.Fill(bytes, (byte)0x5A);
        return bytes;
    }
}

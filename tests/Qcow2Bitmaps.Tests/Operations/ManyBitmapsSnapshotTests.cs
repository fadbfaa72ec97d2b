using System.Globalization;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>An overlay with many bitmaps, each of which has a table of a whole cluster.</summary>
public sealed class ManyBitmapsSnapshotTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TablesWithoutBitsAreHoles()
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string active = folder.File("active.qcow2");
        string overlay = folder.File("overlay.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", active, "64M");
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(active, FileAccess.ReadWrite, cancellationToken: Token))
        {
            var edit = new BitmapEdit();
            for (int i = 0; i < 300; i++)
            {
                edit.Add(i.ToString(CultureInfo.InvariantCulture));
            }

            await image.Bitmaps.EditAsync(edit, Token);
        }

        await using (ImageChain chain = await ImageChain.OpenAsync(active, cancellationToken: Token))
        {
            await new ChainSnapshot(chain, overlay).RunAsync(cancellationToken: Token);
        }

        await using (FileStorage file = FileStorage.Open(overlay, FileAccess.Read, ImageLock.None))
        {
            Assert.True(file.Length > 300 * 65536, $"{file.Length} bytes");
            Assert.InRange(file.AllocatedBytes!.Value, 1, 1 << 20);
        }

        Assert.Equal(0, (await Qemu.ImgAsync("check", overlay)).ExitCode);
        await using Qcow2Image made = await Qcow2Image.OpenAsync(overlay, cancellationToken: Token);
        Assert.Equal(300, made.Bitmaps.Count);
    }
}
